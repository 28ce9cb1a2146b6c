"""What a cell shows: widgets where a kernel is behind the page, text and figures where there is none."""

import asyncio
import html
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from IPython.display import display

if TYPE_CHECKING:
    from ipywidgets import Widget
    from matplotlib.figure import Figure

PAUSE = 0.3  # seconds without a further key before a text is taken as typed


def show(widget: "Widget", static: str) -> None:
    """Display a widget, and beside it HTML for pages without a kernel: a saved notebook, a report, a viewer.

    Args:
        widget: What JupyterLab shows.
        static: What everything else shows.
    """
    display({**widget._repr_mimebundle_(), "text/html": static}, raw=True)


def picture(figure: "Figure") -> str:
    """A figure as HTML."""
    return figure._repr_html_()


def fault(error: Exception) -> str:
    """An error where a person sees it: what a widget's callback raises is otherwise lost in a log."""
    text = html.escape(str(error) or type(error).__name__)
    return f'<div class="fault" style="background:#FBE3E4;color:#222;padding:6px 10px">Not possible: {text}</div>'


class Pause:
    """Calls a function when nothing has asked for it during `PAUSE`; at once where no event loop runs.

    Args:
        function: What to call.
    """

    def __init__(self, function: Callable[[], None]):
        self.function, self.timer = function, None

    def ask(self, *_) -> None:
        """Ask for a call."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.function()
            return
        if self.timer is not None:
            self.timer.cancel()
        self.timer = loop.call_later(PAUSE, self.function)


def widgets():
    """The module ipywidgets, without its warning that a kernel has no comm in a test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import ipywidgets

    return ipywidgets
