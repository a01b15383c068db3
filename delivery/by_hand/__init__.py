"""What somebody added by hand: the drift that no refresh finds.

    python -m delivery.by_hand --stack prod

The provider reads a live object in the shape of the program's inputs. So a refresh finds values that changed and objects
that are gone, and never what was added: a container, a rule of a network policy, a Service beside the program's.

The check compares structures and not field managers: a writer chooses the name that the API server records, so that name
is shown as a hint and decides nothing. A dry run would have the API server fill in its defaults, but it takes the right to
create, and the role that looks for drift only reads; so the defaults stand in a table, and what the table lacks is a finding.

    state        what the program made, and how its provider reaches the cluster
    cluster      what is there, by `kubectl get`
    additions    what a live object has more than the program's inputs
    defaults     ... and what of that the cluster itself writes
    strangers    objects beside the program's
    check        all of it for one stack
"""
