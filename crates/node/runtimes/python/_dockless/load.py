"""Loads the entrypoint, and says what kind of handler it defines."""

import os
import sys

from .report import Fault

# Where a build puts the packages of a function, inside its bundle.
PACKAGES = "_vendor"


class LoadError(Fault):
    """The function cannot be loaded, in words for its author. `__cause__` is what was raised, if anything was."""


def load(entry, root):
    """The entrypoint's module. Its name is its path with dots, so that relative imports find what lies beside it."""
    from importlib.util import module_from_spec, spec_from_file_location

    file = os.path.join(root, entry)
    if not os.path.isfile(file):
        raise LoadError(f"{entry} is not part of the bundle")
    set_path(file, root)
    sys.argv[:] = [file]
    name = entry[:-3].replace("/", ".")
    # A file at the root may be called like a module of the library, which others need under that name.
    if name in sys.modules or name in sys.stdlib_module_names:
        name = f"function.{name}"
    spec = spec_from_file_location(name, file)
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise LoadError(hint(error)) from error
    return module


def set_path(file, root):
    """Modules are looked for at the root, among the packages, in the library, and last beside the entrypoint."""
    library = [folder for folder in sys.path if folder]
    packages = os.path.join(root, PACKAGES)
    sys.path[:] = [root]
    if os.path.isdir(packages):
        # Obeys the .pth files of packages, unlike a plain entry.
        import site

        site.addsitedir(packages)
    sys.path += [folder for folder in library if folder not in sys.path]
    beside = os.path.dirname(file)
    if beside not in sys.path:
        sys.path.append(beside)


def hint(error):
    name = (error.name or "").split(".")[0]
    if error.name and "." in error.name and name in sys.modules:
        return f"{error}\nIs the file part of the deployment, and its name spelled in the same case?"
    return f"{error}\nDid you forget to add it to `requirements.txt`?"


def choose(module, entry):
    """The shape of what a module defines, and that. The first row that fits decides."""
    for name in ("handler", "Handler"):
        found = getattr(module, name, None)
        if is_handler(found):
            return "handler", found
    for name in ("app", "application", "handler"):
        found = getattr(module, name, None)
        if found is not None:
            break
    else:
        raise LoadError(
            f"{entry} defines neither `handler` nor `app`\n"
            "Define `class handler(BaseHTTPRequestHandler)`, or `app`, a WSGI or ASGI application."
        )
    if not callable(found):
        raise LoadError(f"`{name}` of {entry} cannot be called: expected a WSGI or ASGI application")
    if isinstance(found, type) and name == "handler":
        raise LoadError(f"`handler` of {entry} is no subclass of http.server.BaseHTTPRequestHandler")
    return shape_of(found, name, entry)


def is_handler(found):
    # A class that derives from it has loaded the module that defines it.
    server = sys.modules.get("http.server")
    return server is not None and isinstance(found, type) and issubclass(found, server.BaseHTTPRequestHandler)


def shape_of(application, name, entry):
    import inspect

    asgi = getattr(application, "asgi", None)
    if callable(asgi) and not inspect.isclass(application):
        return "asgi", asgi
    call = application if inspect.isroutine(application) else getattr(type(application), "__call__", application)
    target = getattr(application, "func", application)  # functools.partial
    if any(inspect.iscoroutinefunction(one) for one in (application, call, target)):
        return "asgi", application
    try:
        inspect.signature(application).bind(None, None)
    except TypeError:
        pass
    except ValueError:
        return "wsgi", application  # written in C: it does not tell
    else:
        return "wsgi", application
    try:
        inspect.signature(application).bind(None, None, None)
    except TypeError:
        raise LoadError(
            f"`{name}` of {entry} takes neither (environ, start_response) nor (scope, receive, send)"
        ) from None
    return "asgi", application
