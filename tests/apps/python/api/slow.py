import time


def app(environ, start_response):
    time.sleep(600)
