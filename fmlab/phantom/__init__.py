"""The phantom: a synthetic echocardiography dataset with known anatomy, known scanner and known wrong labels."""
