"""Many pictures over many providers. Rule: each picture is paid for once, and all within the budget.

`board` decides, and knows neither network nor disk.
"""
