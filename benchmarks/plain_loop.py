"""The peer of `market`: the same pipeline in a plain loop. ONE RULE: nothing of gpufair is in the timed part.

A process of its own, in the environment that a process worker gets: a JSON request a line on stdin, a JSON answer a
line on stdout, timed inside.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import time

import diffusers
import torch
import transformers
from diffusers import DDIMScheduler, StableDiffusionPipeline


def main(folder: str) -> None:
    """Load the pipeline and serve."""
    out, sys.stdout = sys.stdout, sys.stderr
    for library in (diffusers, transformers):
        library.logging.disable_progress_bar()
    torch.set_num_threads(1)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, local_files_only=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        ask = json.loads(line)
        start, cpu = time.perf_counter(), time.process_time()
        generator = torch.Generator("cpu").manual_seed(ask["seed"])
        image = pipeline(
            ask["prompt"], num_inference_steps=ask["steps"], guidance_scale=ask["guidance"], height=ask["side"],
            width=ask["side"], generator=generator, negative_prompt=ask["negative"],
        ).images[0]  # fmt: skip
        kept = io.BytesIO()
        image.save(kept, "PNG")
        wall, used = time.perf_counter() - start, time.process_time() - cpu
        png = base64.b64encode(kept.getvalue()).decode()
        print(json.dumps({"ms": wall * 1000, "cpu_ms": used * 1000, "png": png}), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
