"""Where the camera is: from views of a known board to the camera's pose in the robot base, or on its tool."""
