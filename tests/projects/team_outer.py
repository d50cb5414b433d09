from team_inner import team_ex

from sacred_ray_ingredient import make_outer

team_outer = make_outer("team_outer", team_ex)

if __name__ == "__main__":
    team_outer.run_commandline()
