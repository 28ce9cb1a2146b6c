"""A choice of models and image sets; a query with its right answer and four candidates, as the model ranks them."""

from collections.abc import Sequence

from . import images
from .models import Model, load, notice
from .output import fault, show, widgets


class ImagePanel:
    """The widgets about images.

    Args:
        models: Those that can be chosen.
        model: The one that is shown first.
    """

    def __init__(self, models: Sequence[Model], model: Model):
        w = widgets()
        wide, described = w.Layout(width="98%"), {"description_width": "90px"}
        listed = [*models] if model in models else [model, *models]
        options = [(each.name, each) for each in listed]
        self.model = w.Dropdown(options=options, value=model, description="Model", layout=wide, style=described)
        self.dataset = w.Dropdown(description="Dataset", layout=wide, style=described)
        self.next = w.Button(description="Next query", button_style="info")
        self.place = 0
        self.notice, self.ranking = w.HTML(layout=wide), w.HTML(layout=wide)
        self.next.add_class("explore-next")
        self.ranking.add_class("explore-images")
        self.choose_model()
        self.model.observe(self.choose_model, "value")
        self.dataset.observe(self.first, "value")
        self.next.on_click(self.turn)

    def choose_model(self, *_) -> None:
        """The sets of the model's data, and what must be known of the model."""
        self.notice.value = notice(self.model.value)
        sets = images.datasets(images.data_of(self.model.value))
        options = [(f"{name} ({images.words(task)})", name) for name, task in sets.items()]
        if [*self.dataset.options] != options:
            self.dataset.options = options
            self.dataset.value = options[0][1]
        self.first()

    def first(self, *_) -> None:
        """The first query of the set."""
        self.place = 0
        self.update()

    def turn(self, *_) -> None:
        """The next query."""
        self.place += 1
        self.update()

    def update(self) -> None:
        """Rank anew."""
        try:
            self.ranking.value = self.ranked(self.dataset.value, self.place)
        except Exception as error:  # of a callback it would be seen by nobody
            self.ranking.value = fault(error)

    def ranked(self, dataset: str, place: int) -> str:
        """A query of a set and its ranked candidates, as HTML."""
        asked = images.question(images.data_of(self.model.value), dataset, place)
        return images.table(asked, images.rank(load(self.model.value), asked))

    def show(self) -> None:
        """The boxes and the ranking; a page without a kernel has a query of every meta-task."""
        sets = images.datasets(images.data_of(self.model.value))
        static = "".join(self.ranked(name, 0) for name in images.first_of_each_task(sets))
        parts = (self.notice, self.model, self.dataset, self.next, self.ranking)
        show(widgets().VBox(parts), f"{self.notice.value}{static}")
