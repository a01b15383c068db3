"""What the feature repo says: imported, checked, and described in the words of the contract."""
