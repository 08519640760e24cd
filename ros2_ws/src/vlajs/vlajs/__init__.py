"""vlajs: state-based manipulation policies on a Franka Panda, with the twin standing in for the arm."""
