"""Where trials and trainings run: in processes of their own, here or on other machines."""
