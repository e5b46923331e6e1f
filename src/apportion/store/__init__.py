"""Records and artifacts of finished stages: nothing half-written is ever visible."""
