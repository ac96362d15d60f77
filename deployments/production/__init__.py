"""What goes to other machines: images, and what stands in front of them."""
