"""From notebooks to the rendered book: execution, ledger, pages. Training needs none of it."""
