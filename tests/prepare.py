"""What all tests need is fetched and compiled before the first of them, by one process instead of several.

    python -m tests.prepare

Kafka and its start cache, the clicks of ml-100k, and the kernels' machine code, which takes a minute of
processor time after a change of theirs. A few tests run without it; they are slower then.
"""

from kernels.cache import use_cache
from learner.data.ml100k import fetch_ml100k
from streams.broker import node
from streams.operate.kernels import compile_all
from streams.settings import load_settings


def main() -> None:
    """Does what has not been done yet; a second time it takes no second."""
    settings = load_settings()
    node.prepare(settings.cache_dir, settings.broker_jars, print, thoroughly=True)
    fetch_ml100k(settings.cache_dir / "ml-100k")
    compiled = use_cache() / "compiled"
    if not compiled.exists():
        print("compiling kernels", flush=True)
        compile_all()
        compiled.touch()


if __name__ == "__main__":
    main()
