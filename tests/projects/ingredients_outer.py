"""An outer experiment whose named config sets an entry of the inner's ingredient."""

from ingredients_inner import ingredients_ex

from sacred_ray_ingredient import make_outer

outer = make_outer("ingredients_outer", ingredients_ex)


@outer.named_config
def with_factor():
    ingredients_ex = {"factor": 10}
    data = {"size": 40}


if __name__ == "__main__":
    outer.run_commandline()
