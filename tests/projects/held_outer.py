from held_inner import held_ex

from sacred_ray_ingredient import make_outer

held_outer = make_outer("held_outer", held_ex)

if __name__ == "__main__":
    held_outer.run_commandline()
