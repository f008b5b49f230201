"""What Lambda is given to run: a zip with the app, this package and what both need, made for another machine."""
