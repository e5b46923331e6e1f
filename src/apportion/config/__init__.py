"""Every frozen configuration type, and the study file as it is read and written."""
