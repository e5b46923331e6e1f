"""What the measured cells say of the surface: estimates, posterior draws and simulators."""
