<?php require '_lib/page.php'; page('PHP on Dockless', function () { ?>
  <p>It is <?= date(DATE_ATOM) ?>, and this is PHP <?= PHP_VERSION ?>.</p>
  <form action="/contact.php" method="post">
    <label>Name <input name="name"></label>
    <button>Say hello</button>
  </form>
  <p><a href="/api/date">The date alone</a></p>
<?php });
