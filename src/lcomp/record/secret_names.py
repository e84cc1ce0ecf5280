"""Which names are those of secrets."""

from __future__ import annotations

import re
from functools import lru_cache

WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
SECRET = re.compile(r"(passw(or)?[dt]|passphrase|passcode|kennwort|secret|credential|pwd|creds)s?$")
ALONE = {"authorization", "bearer", "jwt", "cookie", "cookies", "pass"}
SERVICES = "api|app|access|private|secret|encryption|signing|auth|ssh|account|master|session|service|deploy|client"
OTHERS = "license|consumer|subscription|admin|rsa|gpg|pgp|aes|hmac|wandb|aws|azure|openai"
KEYS_OF = {*SERVICES.split("|"), *OTHERS.split("|")}
KEY = re.compile(rf"({SERVICES})keys?$")
TOKEN = re.compile(r"(api|auth|access|bearer|refresh|session|secret|bot)tokens?$")
NETWORKS = (  # what stands before `token` where it is a part of a network or of its data
    "cls class mask masked pad padding eos bos sos unk sep separator special dist distill distillation register "
    "num n nb max min total per prompt image img patch vision visual text word char local global start end begin stop "
    "blank query learnable learned position pos latent memory mem summary null empty input output context target "
    "segment source audio video time task meta readout decoder encoder expert pooled random vocab type"
)
OF_NETWORKS = set(NETWORKS.split())
OF_FOLDERS = {"PWD", "OLDPWD"}  # of every shell
INDIFFERENT = {"value", "base", "text", "string", "hash", "plain"}  # behind a word that counts


@lru_cache(1 << 14)
def names_secret(name: str) -> bool:
    """Whether a key, dotted or not, a flag or an environment variable is a secret's.

    The last word of its last part counts, as in `password`, `client_secret`, `apiKey`, `hf_token`; what lies beneath
    `credentials` is secret too.
    """
    *parents, last = re.split(r"[./@]+", name)[-8:]
    return name not in OF_FOLDERS and (
        is_secret_part(last, tokens=True) or any(is_secret_part(part) for part in parents)
    )


def is_secret_part(part: str, tokens: bool = False) -> bool:
    words = [word.lower() for word in WORDS.findall(part)]
    while words and (words[-1].isdigit() or words[-1] in INDIFFERENT):
        words.pop()
    if not words:
        return False
    before, last = words[-2] if len(words) > 1 else "", words[-1]
    if SECRET.search(last) or KEY.search(last) or (last in ALONE and (last != "pass" or not before)):
        return True
    if last in ("key", "keys"):
        return before in KEYS_OF
    return tokens and bool(TOKEN.search(last) or (last in ("token", "tokens") and before not in OF_NETWORKS))
