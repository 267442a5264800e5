"""The one exception type whose message is meant for the person at the keyboard."""


class UserError(ValueError):
    """Something the user can put right; the message is one line and names the fix.

    Entry points print it without a traceback. Anything else that escapes is a
    defect of this project and keeps its traceback.
    """
