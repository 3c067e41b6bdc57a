"""What makes things that the checkout keeps. No part of the product: nothing here is installed."""
