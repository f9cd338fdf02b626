"""What goes wrong in predictions, counted on arrays; nothing here draws or writes."""
