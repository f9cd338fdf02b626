"""Arguments that several sub-commands have: which run, on how many processes."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple


class RunArguments(NamedTuple):
    """What is needed to make a plan; each of several processes makes its own.

    Attributes:
        config: a file, the name of a packaged config, or the folder of a run.
        overrides: changes of it.
        imports: Python modules to import before.
        output: the run's folder, if not the config's.
        weights: a checkpoint, if not the config's.
        trust: packages that a config which is a file may name, beside the modules to import.
    """

    config: str
    overrides: tuple[str, ...]
    imports: tuple[str, ...]
    output: str | None
    weights: str | None
    trust: tuple[str, ...] = ()

    def plan(self, *, to_use: bool = False) -> Any:
        """Import the modules and return the plan; see :func:`d2_engine.run.load_plan`."""
        from d2_config import trust_targets
        from d2_config.logger import setup_logger
        from d2_engine.run import import_modules, load_plan
        from d2_structures import comm

        setup_logger(distributed_rank=comm.get_rank())
        # A file may have a name that no config can use.
        imported = [name for name in import_modules(self.imports) if name.isidentifier()]
        trust_targets(*self.trust, *imported)
        return load_plan(
            self.config,
            self.overrides,
            output=self.output,
            weights=self.weights,
            to_use=to_use,
        )

    def command(self, name: str, *more: str, trust: Sequence[str] = ()) -> str:
        """Return a ``d2`` command that needs the same modules, as one would type it.

        Args:
            name: of the sub-command.
            more: its arguments.
            trust: further modules that it has to trust.
        """
        import shlex

        words = ["d2", name, *more]
        for module in self.imports:
            words += ["--import", module]
        for module in dict.fromkeys((*self.trust, *trust)):
            words += ["--trust", module]
        return shlex.join(words)


def add_config(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the words ``CONFIG key=value …`` and the options that go with them.

    Args:
        parser: of the sub-command.
        what: what may stand for ``CONFIG``.
    """
    parser.add_argument(
        "words",
        nargs="*",
        default=[],
        metavar="CONFIG key=value",
        help=f"{what}; then changes of it. data.train.json=… data.train.images=… data.val.json=… "
        "data.val.images=… name data of one's own in COCO's format for any config",
    )
    parser.add_argument("--config-file", metavar="CONFIG", help="the same as CONFIG")
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a Python module, by name or file, that registers datasets or parts of models; "
        "may be repeated",
    )
    add_trust(parser)
    parser.add_argument("--weights", metavar="FILE", help="a checkpoint, or its URL")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the option that lets a config file name more."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="let a YAML config, or that of a run, build what is in a Python package; without it "
        "they build parts of d2, torch.nn, torch.optim, torchvision, timm and of imported modules; "
        "may be repeated",
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    """Add the options of work in several processes."""
    group = parser.add_argument_group(
        "several processes", "torchrun may start them instead: torchrun … $(which d2) train …"
    )
    group.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="processes on this machine, each with a GPU of its own where there are any (default: "
        "1)",
    )
    group.add_argument("--num-machines", type=int, default=1, metavar="N", help="(default: 1)")
    group.add_argument(
        "--machine-rank", type=int, default=0, metavar="I", help="of this machine, from 0"
    )
    group.add_argument(
        "--dist-url", default="auto", metavar="URL", help="where they meet, e.g. tcp://HOST:29500"
    )
    parser.add_argument(
        "--stall-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="give up when loading data takes so long, or one of several processes is stopped so "
        "long; 0 waits for ever (default: 300)",
    )


def run_arguments(args: argparse.Namespace) -> RunArguments:
    """Return what was given; ends with a usage error if no config was."""
    config, overrides = args.config_file, list(args.words)
    if config is None:
        if not overrides:
            args.usage_error("which config? Give a file, a folder of a run, or a name of d2 zoo")
        config, *overrides = overrides
    return RunArguments(
        config=config,
        overrides=tuple(overrides),
        imports=tuple(args.imports),
        output=args.output,
        weights=args.weights,
        trust=tuple(args.trust),
    )


def launch_with(args: argparse.Namespace, function: Any, arguments: Sequence[Any]) -> None:
    """Call a function of a module in as many processes as were asked for."""
    from d2_engine.launcher import launch

    launch(
        function,
        args.num_gpus,
        args.num_machines,
        args.machine_rank,
        args.dist_url,
        args=tuple(arguments),
        stall_timeout=args.stall_timeout,
    )


def print_results(results: Any, folder: str, next_commands: Sequence[tuple[str, str]] = ()) -> None:
    """Print the table, the folder, and what may be typed next.

    Args:
        results: of the evaluators; nothing is printed of empty ones.
        folder: of the run.
        next_commands: commands and what they do.
    """
    from d2_eval.report import results_table

    if results:
        print(f"\n{results_table(results)}")
    print(f"\nEverything is in {folder}")
    width = max((len(command) for command, _ in next_commands), default=0)
    for command, purpose in next_commands:
        print(f"  {command:<{width}}  {purpose}")
    sys.stdout.flush()
