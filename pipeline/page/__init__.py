"""``reports/index.html``: what its views show, made from files, arrays and the network itself.

Nothing here draws: pictures come as Section(s) from those who drew them, what can be clicked goes
into the page as numbers, which the scripts in ``templates/page`` show.
"""
