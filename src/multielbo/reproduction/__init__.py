"""What the pages of reproductions share: records asked for, tables as the papers print them."""
