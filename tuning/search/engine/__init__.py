"""Where trials run, and who watches over them."""
