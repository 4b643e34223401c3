"""The sandbox, alone: nothing of the product takes part here."""
