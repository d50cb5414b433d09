from carried_inner import carried_ex

from sacred_ray_ingredient import make_outer

carried_outer = make_outer("carried_outer", carried_ex)

if __name__ == "__main__":
    carried_outer.run_commandline()
