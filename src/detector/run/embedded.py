"""Training of a head alone: the frozen backbone sees each view of a picture once."""

import logging
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from detector.data.blended.training import Blending
from detector.data.cache import make_room
from detector.data.datamodule import FaceData
from detector.data.embeddings import Wanted, embedding_key, load_embeddings
from detector.data.preprocess import Preprocess
from detector.models.halves import check_in_two, in_two
from detector.models.head import head_names
from detector.module import DetectorModule
from detector.run.hardware import Hardware

log = logging.getLogger(__name__)

BATCH = 32


def digest_of(blending: Blending | None) -> str:
    """What blends depend on beside the settings: where the faces were found."""
    return "" if blending is None else blake2b(blending.landmarks.tobytes()).hexdigest()


def embed_faces(
    module: DetectorModule,
    data: FaceData,
    contents: list[str],
    *,
    views: int,
    settings: object,
    precision: str,
    device: str,
    cache_dir: Path,
    cache_gb: float,
    progress: Callable[[int, int], None] | None,
) -> bool:
    """Lets `data` give embeddings instead of pictures, if they fit into the cache.

    Args:
        module: Its network's backbone stays frozen; on the CPU before and after.
        data: From now on its loaders give float32 (N, D).
        contents: Digests of the files, by row.
        views: Augmented views of each training picture.
        settings: All else that a view depends on, with a `repr` that says it.
        precision: Of the training, as Lightning names it.
        device: As PyTorch names it.
        cache_dir: Where caches are kept.
        cache_gb: Limit of the cache, in 10^9 bytes.
        progress: Called with the number done and the number of all.

    Returns:
        Whether they fit, and could be kept.

    Raises:
        UserError: The network cannot be taken apart.
    """
    network = module.network
    plain = np.union1d(data.rows["val"], data.rows["measured"])
    if data.augment is None and data.blending is None:
        wanted = Wanted(np.union1d(plain, data.rows["train"]), data.rows["train"], 0)
    else:
        wanted = Wanted(plain, data.rows["train"], views)
    was_training = network.training
    network.eval()
    module.to(device)
    body, _ = in_two(network)
    kind = torch.bfloat16 if precision.startswith("bf16") else torch.float16
    autocast = torch.autocast(device, kind, enabled=not precision.startswith("32"))

    def embed(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), autocast:
            return body(module.scaled(images.to(device)))

    try:
        first = data.faces(training=False)[0, int(plain[0])][0][None]
        check_in_two(network, module.scaled(first.to(device)))
        bits = 0 if data.bits is None else data.bits.shape[1]
        need = len(wanted) * (embed(first).shape[1] + bits) * 4
        if need > cache_gb * 1e9:
            log.info(
                "embeddings: %.2f GB exceed data.cache_gb=%g, so the backbone sees every picture"
                " in every epoch; lower embeddings.views", need / 1e9, cache_gb,
            )  # fmt: skip
            return False
        digest = blake2b(digest_size=10)
        for content in contents:
            digest.update(content.encode())
        rows = (digest.hexdigest(), wanted.plain.tobytes(), wanted.train.tobytes(), wanted.views)
        if data.bits is not None:  # which follow from names too, not from what files hold alone
            rows = (*rows, blake2b(data.bits.tobytes(), digest_size=10).hexdigest())
        # Weights do not tell how they are used, such as how a map is pooled; nor where faces lie.
        made_by = module.card["network"], digest_of(data.blending)
        key = embedding_key(
            network, head_names(network), rows, settings, made_by, precision, device
        )
        file = load_embeddings(
            embed, lambda augmented: data.faces(training=augmented), wanted, key=key,
            cache_dir=cache_dir, batch_size=BATCH, workers=data.workers, progress=progress,
            worker_init=data.worker_init,
        )  # fmt: skip
        make_room(file.parent, keep=file, limit=cache_gb * 1e9 - need)
    except OSError as error:
        log.warning("embeddings cannot be kept (%s), so the backbone sees every picture in every"
                    " epoch; paths.cache= names another place", error)  # fmt: skip
        return False
    finally:
        module.to("cpu")
        network.train(was_training)
    data.embedded = file, wanted
    return True


def embed_as_set(
    cfg: DictConfig,
    module: DetectorModule,
    data: FaceData,
    contents: list[str],
    preprocess: Preprocess,
    hardware: Hardware,
    progress: Callable[[int, int], None] | None,
) -> None:
    """`embed_faces` where a config asks for it: the backbone never changes, no picture is mixed.

    Args:
        cfg: As `conf/train.yaml` composes it.
        module: As for `embed_faces`.
        data: As for `embed_faces`.
        contents: As for `embed_faces`.
        preprocess: From files to pictures.
        hardware: What to compute on.
        progress: As for `embed_faces`.
    """
    if cfg.model.freeze != "backbone" or not cfg.embeddings.views:
        return
    if cfg.loss.mixup:
        log.info("no embeddings, as loss.mixup mixes pictures: the backbone sees each of them")
        return
    plain = OmegaConf.to_container(cfg, resolve=True)
    done = embed_faces(
        module, data, contents,
        views=cfg.embeddings.views,
        settings=(cfg.seed, preprocess.to_dict(), plain["augment"]["steps"],
                  plain["data"]["fakes"], plain["blended"]),
        precision=hardware.precision,
        device={"gpu": "cuda"}.get(hardware.accelerator, hardware.accelerator),
        cache_dir=Path(cfg.paths.cache).expanduser(), cache_gb=cfg.data.cache_gb,
        progress=progress,
    )  # fmt: skip
    if done:
        log.info("the head alone is trained, on embeddings of its frozen backbone")
