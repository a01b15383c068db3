"""What a materialization run does with one view: which rows it takes, how it picks them, and what it says about them."""
