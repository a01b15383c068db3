"""Stand-ins for the AWS and random providers and for the language host: one module each, a process each.

Every command of Pulumi starts them: this package and what a plugin imports stay small. `sandbox.plugins` installs them.
"""
