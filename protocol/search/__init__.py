"""Finding offers among very many. Rule: nobody is left out unseen: every filter is counted, every miss has its numbers.

`filters` says what each filter means for one offer; everything else here answers the same for a hundred thousand.
"""
