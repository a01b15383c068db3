"""How a change reaches the stacks: the tools that the workflows call.

    preview, outcome     run the engine with the policy pack, and read what it said
    comment, publish     say it on a pull request, once, in a form that is read in ten seconds
    approval             what was approved is what is deployed
    image, outputs       the image that a commit runs; what a deployment tells applications
    drift, by_hand       what differs from the program, in one issue for each stack; what somebody added to it
    lint                 the workflows themselves

Everything here needs the standard library and PyYAML only, and takes what it reads (names, values, messages, other
people's text) as hostile: it is shown in code spans, cut, and without what looks like a secret.
"""
