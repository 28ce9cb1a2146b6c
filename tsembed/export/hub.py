"""A finished folder to the Hugging Face hub, by its own client."""

from pathlib import Path

PRIVATE = ["logs/wandb/*"]  # names of the machine, its user and folders, that Weights & Biases keeps beside its log


def check(name: str) -> None:
    """That a repository can be written to: before hours of training, not after them.

    Args:
        name: "name", which is one of the token's user, or "user/name" or "organisation/name".

    Raises:
        ValueError: If there is no token, the hub does not answer, the token is refused or for reading alone, or the
            repository would not be the user's nor one of their organisations'.
    """
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"push to hub: {error}") from None
    if constants.is_offline_mode():
        raise ValueError("push to hub: HF_HUB_OFFLINE is set, so nothing can be uploaded")
    if get_token() is None:
        raise ValueError("push to hub: there is no token; `hf auth login`, or set HF_TOKEN")
    try:
        user = HfApi().whoami()
    except Exception as error:  # of the hub, of httpx or of the system: what matters is that it did not answer
        raise ValueError(f"push to hub: {constants.ENDPOINT} does not take the token ({_first_line(error)})") from error
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise ValueError("push to hub: the token is for reading; one that may write is needed")
    owners = [user["name"], *(organisation["name"] for organisation in user.get("orgs", []))]
    owner, is_given, _ = name.partition("/")
    if is_given and owner not in owners:
        raise ValueError(f"push to hub: {owner!r} is none of the token's user and organisations ({', '.join(owners)})")


def push_to_hub(folder: str | Path, name: str, *, private: bool = False) -> str:
    """The address of a repository with the files of a folder, which is made if it is not there.

    Args:
        folder: A finished export, or what `fit` wrote: it has a model card. What Weights & Biases wrote into it, with
            names of the machine and its user, stays here.
        name: As `check` takes it.
        private: Of a repository that is made; one that is there stays as it is.

    Raises:
        ValueError: If the folder has no model card, the upload fails, or as `check` does.
    """
    from huggingface_hub import HfApi

    folder = Path(folder)
    if not (folder / "README.md").is_file():
        raise ValueError(f"{folder}: no README.md, so this is no finished export")
    check(name)
    api = HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=address.repo_id,
            folder_path=folder,
            commit_message="Upload with tsembed",
            ignore_patterns=PRIVATE,
        )
    except Exception as error:  # as in `check`
        raise ValueError(
            f"push to hub: {_first_line(error)}. {folder} is whole: tsembed push {folder} {name}"
        ) from error
    return str(address)


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
