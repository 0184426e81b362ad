"""Which bits an element gets, and the noise made from them."""
