from curve_inner import curve_ex

from sacred_ray_ingredient import make_outer, resolver

curve_outer = make_outer("curve_outer", curve_ex)


def enough(trial_id, result):
    return result["height"] > 3


@resolver("optimizer", "beta.one")
def momentum_of(optimizer, one):
    return 4 * one if optimizer == "adam" else 1


if __name__ == "__main__":
    curve_outer.run_commandline()
