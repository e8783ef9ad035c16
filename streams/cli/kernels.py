"""The command that makes machine code before anybody waits for it."""

import typer


def compile_kernels() -> None:
    """Compile what is compiled at the first start otherwise.

    A worker, a learner or a replay then starts within seconds. Needs a minute or two of one core after an
    installation and after an update, and next to nothing when repeated.
    """
    import time

    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn

    from streams.operate.kernels import compile_all, imported

    class Ready(ProgressColumn):
        """How many kernels are ready, looked up whenever the line is drawn."""

        def render(self, task: Task) -> str:  # noqa: ARG002
            return f"{sum(kernel.compiled or kernel.read for kernel in imported())} kernels"

    began, console = time.monotonic(), Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("compiling: {task.description}"), Ready(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        line = progress.add_task("", total=None)
        kernels = compile_all(lambda words: progress.update(line, description=words))
    compiled = sum(kernel.compiled for kernel in kernels)
    typer.echo(
        f"{len(kernels)} kernels ready after {time.monotonic() - began:.0f} s, "
        f"{compiled or 'none'} of them compiled now"
    )
