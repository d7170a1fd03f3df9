"""The command `elman`: the same words as in Python, one file a group of commands.

Results go to standard output, progress and complaints to standard error. Exit status 0: done, or stopped as
asked and
resumable; 2: something the user can mend, said in one line; 130 and 143: stopped by SIGINT and SIGTERM,
saved.
"""

import sys

import typer

from elman.cli import catalog, chat, ctc, doctor, ngram, plot, predict, score, show, training, use
from elman.cli.common import drop_output
from elman.errors import ElmanError

app = typer.Typer(
    help="Recurrent sequence models: train on your own data, decode, stream, look inside.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(training.train_command)
app.command("evaluate")(use.evaluate_command)
app.command("predict")(predict.predict_command)
app.command("generate")(use.generate_command)
app.command("chat")(chat.chat_command)
app.command("score")(score.score_command)
app.command("info")(show.info_command)
app.command("plot")(plot.plot_command)
app.command("settings")(show.settings_command)
app.command("doctor")(doctor.doctor_command)
app.add_typer(catalog.app, name="data")
app.add_typer(ngram.app, name="ngram")
app.add_typer(ctc.app, name="ctc")


def main() -> None:
    """Runs the command line; an ElmanError is one line and exit status 2."""
    try:
        app()
    except ElmanError as error:
        print(f"elman: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except BrokenPipeError:
        # The reader of our output has gone (elman generate ... | head): nobody is left to tell.
        drop_output()
        sys.exit(141)
