"""Requests to addresses that somebody entered: the one way out for upstream HTTP, upstream sockets and the sandbox's
api_call. A name is resolved once, every address it has is checked, and the one that was checked is dialled.
"""
