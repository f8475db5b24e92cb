"""The one error that is the user's to mend."""


class BadInput(ValueError):
    """Something given to peftlens can't be used; the message names the value and the remedy.

    The command line prints it as one line and exits with 2. Anything else that is raised is a
    failed run or a defect of peftlens.
    """
