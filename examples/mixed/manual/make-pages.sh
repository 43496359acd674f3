# Makes a page of each chapter. The server sees the whole path of a request, so the pages lie in a folder of its name.
set -e
mkdir -p /www/manual
cd /chapters
{
  echo '<!doctype html><meta charset="utf-8"><title>Manual</title><h1>Manual</h1><ul>'
  for chapter in *.txt; do
    name=${chapter%.txt}
    { echo '<!doctype html><meta charset="utf-8"><pre>'; cat "$chapter"; echo '</pre>'; } > "/www/manual/$name.html"
    echo "<li><a href=\"/manual/$name.html\">$name</a>"
  done
  echo '</ul>'
} > /www/manual/index.html
