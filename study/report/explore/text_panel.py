"""A text box, a list of texts and a choice of models; ranking, heat maps and layers follow what is typed."""

from collections.abc import Sequence
from pathlib import Path

from . import models as known_models
from . import rankings, routes
from .models import Model, beside, load, notice
from .output import Pause, fault, picture, show, widgets

TEXT = "a river bank"
TEXTS = (
    "a savings bank",
    "the shore of a stream",
    "interest rates rise",
    "a boat on the water",
    "how to open an account",
    "fishing at the riverside",
)


class TextPanel:
    """The widgets about texts; every one is shown by a method, in a cell of its own.

    Args:
        models: Those that can be chosen.
        model: The one that is shown first.
        text: What stands in the box at first.
        texts: What stands in the list at first.
    """

    def __init__(self, models: Sequence[Model], model: Model, text: str = TEXT, texts: Sequence[str] = TEXTS):
        w = widgets()
        wide, described = w.Layout(width="98%"), {"description_width": "90px"}
        self.models: list[Model] = []
        self.model = w.Dropdown(description="Model", layout=wide, style=described)
        self.text = w.Text(text, description="Text", layout=wide, style=described)
        lines = len(texts) + 1
        self.texts = w.Textarea("\n".join(texts), description="Texts", rows=lines, layout=wide, style=described)
        self.notice, self.ranking, self.heat_maps, self.layers = (w.HTML(layout=wide) for _ in range(4))
        for name in ("text", "texts", "ranking"):
            getattr(self, name).add_class(f"explore-{name}")
        self.offer(models, model)
        self.update()
        pause = Pause(self.update)
        self.model.observe(pause.ask, "value")
        self.text.observe(pause.ask, "value")
        self.texts.observe(pause.ask, "value")

    def offer(self, models: Sequence[Model], model: Model) -> None:
        """Other models to choose from, and which of them is shown."""
        self.models = [*models] if model in models else [model, *models]
        self.model.options = [(each.name, each) for each in self.models]
        self.model.value = model

    def choose_new(self, folder: Path) -> None:
        """Show the model that was just trained in a folder, and offer all that are there now."""
        listed = known_models.models()
        self.offer(listed, next(model for model in listed if model.folder == folder))

    @property
    def pair(self) -> tuple[Model, ...]:
        """The chosen model, and the IC model beside it."""
        model = self.model.value
        return tuple(dict.fromkeys((model, beside(model, self.models))))

    def update(self) -> None:
        """Compute everything that is shown anew."""
        self.notice.value = notice(self.model.value)
        try:
            text = self.text.value.strip()
            ranked = rankings.rankings(load(self.model.value), text, self.texts.value.splitlines())
            self.ranking.value = rankings.table(ranked)
            cosines = {model: routes.route_cosines(load(model), text) for model in self.pair}
            self.heat_maps.value = f"{picture(routes.heat_maps(cosines))}<p>{routes.sentence(cosines)}</p>"
            layers = {model: routes.layer_cosines(load(model), text) for model in self.pair}
            self.layers.value = picture(routes.layer_lines(layers))
        except Exception as error:  # of a callback it would be seen by nobody
            self.ranking.value = fault(error)
            self.heat_maps.value = self.layers.value = ""

    def show_ranking(self) -> None:
        """The boxes, and the ranking of every route."""
        parts = (self.notice, self.model, self.text, self.texts, self.ranking)
        show(widgets().VBox(parts), f"{self.notice.value}{self.ranking.value}")

    def show_heat_maps(self) -> None:
        """Cosine of the text under every two routes, beside IC's."""
        show(self.heat_maps, self.heat_maps.value)

    def show_layers(self) -> None:
        """From which block on the routes part."""
        show(self.layers, self.layers.value)
