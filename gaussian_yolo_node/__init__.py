"""Object detection with localization uncertainty: boxes that come with their standard deviations."""
