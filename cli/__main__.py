"""The ``traceship`` command.

Commands are named here and imported when they run: ``traceship --help`` loads neither torch
nor boto3 nor the CDK.
"""

from __future__ import annotations

import difflib
import importlib
import shlex
import sys

import click

from cli.stopping import INTERRUPTED, tell

_COMMANDS = {
    "init": "write a commented traceship.toml",
    "plan": "choose the buckets that waste least on padding, from measured lengths",
    "compile": "trace a model and prove that the trace gives its answers",
    "poison": "compile rows that failed too often to be tried again; try some again",
    "adopt": "make an artifact of TorchScript files that you traced yourself",
    "report": "draw the page that says what a compile proved",
    "verify": "check an artifact's every byte, and its signature where a key is pinned",
    "key": "keys that releases are signed with: create, show",
    "sign": "sign an artifact on this machine",
    "rebuild": "compile again from the record and compare the digest",
    "export": "write an artifact's buckets as plain TorchScript files",
    "cost": "what the settings and the lock cost a month and a million requests",
    "capacity": "how many copies of an artifact each Inf1 instance type holds",
    "archive": "write an artifact as the model.tar.gz that SageMaker unpacks",
    "ship": "compile, verify, publish to S3 and write release.lock.json",
    "promote": "make the release of one stage the release of another, by digest",
    "gc": "list what the bucket holds and nothing needs; delete it on request",
    "deploy": "check the release, then `cdk deploy` the stacks",
    "destroy": "delete the stacks and say what is kept",
    "serve": "serve an artifact on this machine",
    "invoke": "send texts to the endpoint, a replica or a local server",
    "status": "what runs where, with which digest, and is it healthy",
    "local": "the AWS on this machine: up, down, env, status",
    "demo": "the whole path on this machine, from model to answers",
    "debug": "for people who work on traceship: the failpoints of the tests",
}


class NoSuchCommand(click.UsageError):
    """A command that there is not, with the nearest one that there is."""

    def __init__(self, name: str, nearest: str | None, ctx: click.Context) -> None:
        super().__init__(f"there is no command {name!r}", ctx)
        self.fix = f"did you mean `traceship {nearest}`?" if nearest else "see `traceship --help`"


class _Commands(click.Group):
    """Lists every command without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            nearest = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            raise NoSuchCommand(args[0], nearest[0] if nearest else None, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="traceship")
@click.option("--settings", default="traceship.toml", show_default=True, help="The settings file.")
@click.option("--stage", default=None, help="Apply the overrides of [stage.NAME].")
@click.option("--service", default=None, help="Work on [service.NAME]; without: all that the command can.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def traceship(ctx: click.Context, settings: str, stage: str | None, service: str | None, debug: bool) -> None:
    """Takes Hugging Face transformers to AWS Inf1 and keeps them running there.

    \b
    Exit codes: 0 done; 2 arguments or settings; 3 a proof failed; 4 credentials; 5 conflict;
    130 interrupted; 1 anything else. `traceship demo` shows the whole path on this machine.
    """
    ctx.obj = {
        **(ctx.obj or {}),
        "settings": settings,
        "stage": stage,
        "service": service,
        "debug": debug,
    }


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code; never lets a traceback reach a user."""
    arguments = sys.argv[1:] if argv is None else argv
    as_json, debug = "--json" in arguments, "--debug" in arguments
    if debug:  # an option of every command, wherever it is typed
        arguments = ["--debug", *(word for word in arguments if word != "--debug")]
    typed = shlex.join(["traceship", *arguments])
    try:
        told = {"typed": typed}
        return int(traceship.main(arguments, prog_name="traceship", standalone_mode=False, obj=told) or 0)
    except click.ClickException as error:
        return _misuse(error, as_json=as_json)
    except (KeyboardInterrupt, click.exceptions.Abort):
        tell(typed)
        return INTERRUPTED
    except Exception as error:  # the rim: every error becomes what, why and fix
        from cli.failure import report

        return report(error, as_json=as_json, debug=debug)


def _misuse(error: click.ClickException, *, as_json: bool) -> int:
    from cli.failure import Misuse, report

    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "traceship"
    problem = Misuse(
        what=f"`{path}` does not understand its arguments",
        why=error.format_message(),
        fix=error.fix if isinstance(error, NoSuchCommand) else f"see `{path} --help`",
    )
    return report(problem, as_json=as_json, debug=False)


if __name__ == "__main__":
    sys.exit(main())
