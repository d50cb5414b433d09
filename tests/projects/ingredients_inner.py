"""An inner experiment with an ingredient of its own."""

from sacred import Experiment, Ingredient

data = Ingredient("data")


@data.config
def data_config():
    size = 3
    scale = 1
    total = size * scale


@data.capture
def load(total):
    return total


ingredients_ex = Experiment("ingredients_ex", ingredients=[data])


@ingredients_ex.config
def config():
    factor = 1


@ingredients_ex.main
def run(factor):
    return factor * load()
