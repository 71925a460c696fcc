"""`make bench`: every benchmark in turn. Ratios are measured in one run, interleaved; absolute times are noise."""

from __future__ import annotations

import argparse

from tests.bench import (
    bench_aduni_alpa,
    bench_allocator,
    bench_cache,
    bench_data_path,
    bench_feature_losses,
    bench_features,
    bench_framework,
    bench_lmd,
    bench_losses,
    bench_memory,
    bench_multilabel,
    bench_pcct,
    bench_predict,
    bench_proco,
    bench_scale,
    bench_splits,
    bench_threads,
    bench_training,
    bench_views,
)


def main() -> None:
    """Runs all benchmarks, or those that are named."""
    benches = {
        "data_path": bench_data_path.main, "views": bench_views.main, "cache": bench_cache.main,
        "memory": bench_memory.main, "framework": bench_framework.main, "pcct": bench_pcct.main,
        "proco": bench_proco.main, "aduni_alpa": bench_aduni_alpa.main, "lmd": bench_lmd.main,
        "losses": bench_losses.main, "feature_losses": bench_feature_losses.main, "training": bench_training.main,
        "predict": bench_predict.main, "features": bench_features.main,
        "scale": bench_scale.main, "splits": bench_splits.main,
        "multilabel": bench_multilabel.main, "allocator": bench_allocator.main,
        "threads": bench_threads.main,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", choices=[*benches, []], default=list(benches))
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each variant")
    arguments = parser.parse_args()
    for name in arguments.names or benches:
        print(f"\n== {name} ==", flush=True)
        benches[name](arguments.rounds)


if __name__ == "__main__":
    main()
