from datetime import datetime, timezone

from flask import Flask, jsonify, render_template, request

# Files beside `api/` are part of the function's bundle.
app = Flask(__name__, template_folder="../templates")


@app.get("/api")
def index():
    return render_template("index.html", now=datetime.now(timezone.utc))


@app.post("/api")
def echo():
    return jsonify(received=request.get_json())
