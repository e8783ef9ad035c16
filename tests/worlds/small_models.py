"""Small networks of real classes in a folder, as transformers saves them, that read words of a test's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def save_model(folder: Path, config: Any, words: Sequence[str], special: Sequence[str] = ()) -> Path:
    """Weights as torch draws them now, and a tokenizer of whole `words`, "[UNK]" among them."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    transformers.AutoModel.from_config(config).save_pretrained(folder)
    reader = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    reader.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        reader.add_special_tokens(list(special))
    reader.save(str(folder / "tokenizer.json"))
    return folder
